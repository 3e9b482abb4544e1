"""Images: found, downloaded, read, and the frames of videos."""
