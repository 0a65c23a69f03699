"""Pinned assets, the labelled sentences of the course, and labelled files of users."""
