"""What is measured, each as a value beside a baseline of the same run; DESIGN section 8 says against what."""
