"""Files of bars: every layout, every form of time, and what is refused."""
