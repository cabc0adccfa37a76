"""Values to compact codes and back: pure functions built from released statistics, never from rows."""
