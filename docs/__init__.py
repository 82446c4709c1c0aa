"""What the documents are made with; the documents themselves are Markdown."""
