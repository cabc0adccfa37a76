"""What lies on disk: storage paths, named arrays, model files, private folders."""
