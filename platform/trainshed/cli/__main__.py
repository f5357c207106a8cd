"""`python -m trainshed.cli` is `platform`."""

from trainshed.cli.main import run

if __name__ == "__main__":
    run()
