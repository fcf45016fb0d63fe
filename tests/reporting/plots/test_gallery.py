from lit_xai.reporting.plots.gallery import gallery


def test_sections_in_reading_order(results):
    assert {section: len(plots) for section, plots in gallery(results).items()} == {
        "Accuracy and robustness": 3,
        "Radius": 2,
        "Epochs": 2,
        "Injection strength": 6,
        "Distributions": 10,
        "Agreement of explanations": 1,
    }
    assert list(gallery(results))[:2] == ["Accuracy and robustness", "Radius"]


def test_sections_without_plots_are_left_out(empty, changed, results):
    assert gallery(empty) == {}
    assert "Epochs" not in gallery(changed(training=results.training.iloc[:0]))


def test_every_plot_has_words_with_numbers(results):
    for plots in gallery(results).values():
        for plot in plots:
            assert any(letter.isdigit() for letter in plot.alt)
            assert "_" not in plot.title
