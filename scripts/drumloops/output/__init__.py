"""Pictures, HTML, web pages' files, the gallery of written loops."""
