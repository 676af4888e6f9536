"""Everything that knows PyAV or ffmpeg."""
