"""What a fitted model leans on: characteristics, and the months it looks back to."""
