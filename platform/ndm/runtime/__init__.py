"""Where Ray is: sessions, training workers, scoring tasks and their progress."""
