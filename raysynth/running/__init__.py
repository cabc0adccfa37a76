"""Where work runs: in this process or on Ray, with its progress and its stages."""
