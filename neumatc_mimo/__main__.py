"""``python -m neumatc_mimo``: the command line."""

from neumatc_mimo.cli import main

if __name__ == "__main__":
    main()
