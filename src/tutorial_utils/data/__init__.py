"""Pinned assets, the labelled sentences of the series, and labelled files of users."""
