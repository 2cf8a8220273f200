"""`python -m sbiwb`: the command line, as torchrun starts it."""

from sbiwb.cli.app import main

if __name__ == "__main__":
    main()
