"""`python -m exact_resume`."""

from exact_resume.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
