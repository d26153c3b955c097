"""`python -m skelmm_core` is `skelmm`."""

from skelmm_core.cli import main

main()
