"""What every room uses: checks of arguments, files written whole, versions."""
