"""Where documents and blobs are kept: two Protocols (`protocols`), four adapters, one contract suite."""
