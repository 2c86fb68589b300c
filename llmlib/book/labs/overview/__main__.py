"""Runs the overview's longer experiments again, and stores what they give."""

from llmlib.book.labs.overview.runs import main

if __name__ == "__main__":
    main()
