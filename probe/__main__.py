"""The program `probe`, and `python -m probe`. Ctrl-C is heeded before the command line is loaded, which takes time."""

from probe.interrupts import heed


def main() -> None:
    heed()
    from probe.cli import main as run

    run()


if __name__ == "__main__":
    main()
