"""``python -m milepost``: the command line."""

from milepost.cli import app

if __name__ == "__main__":
    app(prog_name="milepost")
