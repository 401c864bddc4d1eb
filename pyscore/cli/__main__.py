"""`python -m pyscore.cli`."""

from pyscore.cli.app import main

main()
