"""`python -m matstream`: the command line."""

from matstream.commands import main

main()
