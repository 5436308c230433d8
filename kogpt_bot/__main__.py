"""`python -m kogpt_bot` is `kogpt-bot`."""

from kogpt_bot.cli import main

main()
