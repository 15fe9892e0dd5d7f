"""One module per topic; each adds the cases of one or more group files."""
