"""Everything in which this project differs from Magenta 2.1.4.

`patches.py` is the table of edits to upstream's files, each with its reason. `added/`
holds the modules that are new. `apply` copies them into Magenta, most of them into
`magenta/models/music_vae/`, so that its own console commands find them.

    python -m magenta_patches apply | status | diff | revert [--target DIR]
"""
