"""`python -m bonehpo`."""

from bonehpo.cli import main

if __name__ == "__main__":
    main()
