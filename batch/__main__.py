"""``python -m batch VERB …``."""

from batch.cli import main

if __name__ == "__main__":
    main(prog_name="./ct")
