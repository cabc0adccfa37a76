"""One folder for each method: how it is fitted and how it generates encoded rows."""
