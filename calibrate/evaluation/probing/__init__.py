"""What audio states hold before any answer: simple classifiers on what each method keeps."""
