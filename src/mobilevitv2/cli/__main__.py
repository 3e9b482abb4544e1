"""`python -m mobilevitv2.cli`."""

from mobilevitv2.cli import main

main()
