"""Work that runs by itself: notebook templates executed with parameters."""
