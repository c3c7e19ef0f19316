"""Fetches a data set of the Hugging Face hub.

hub       what a repository holds, and its files
archives  zip and tar, unpacked safely
origin    what was fetched, recorded in the data set's folder
into      from a repository to a data set's folder
"""
