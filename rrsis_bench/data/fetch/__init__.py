"""Fetches a data set of the Hugging Face hub, or of a folder of Google Drive.

hub       what a repository holds, and its files
drive     a folder of Google Drive, by `gdown`
archives  zip and tar, unpacked safely
origin    what was fetched, recorded in the data set's folder
into      from a repository to a data set's folder
"""
