"""Run folders, read: nothing here sees a source, a model or an index, so any run can be read anywhere."""
