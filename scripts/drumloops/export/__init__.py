"""What leaves the project: the page that plays, magenta.js, the Hub."""
