"""Side by side with peers: same work, same machine, same run, medians."""
