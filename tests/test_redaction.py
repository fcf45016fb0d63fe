import pytest

from lit_xai.redaction import HIDDEN, check_command, redacted


@pytest.mark.parametrize(
    "name",
    ["api_key", "apikey", "API_KEY", "wandb_api_key", "api-key", "init_args.token", "password", "db.password",
     "client_secret", "credentials", "access_key", "aws.private_key", "passwd", "auth-token", "credential"],
)  # fmt: skip
def test_what_is_named_a_secret_is_left_out(name):
    assert redacted({name: "ab12"}) == {name: HIDDEN}
    assert redacted([{"more": {name: "ab12", "eps": 0.1}}]) == [{"more": {name: HIDDEN, "eps": 0.1}}]


@pytest.mark.parametrize(
    "settings",
    [
        {"class_token": True, "tokens": "all", "num_tokens": 4, "token": None, "password": "", "key": "k"},
        {"secretary": "name", "tokenizer": "words", "path": "runs/a@b:c", "monitor": "val/accuracy"},
        {"url": "https://host:8080/path", "api_key_name": "WANDB_API_KEY"},
        [1, 2.5, None, "text", {"a": ["b"]}],
        3,
    ],
)
def test_everything_else_stays(settings):
    assert redacted(settings) == settings


def test_the_argument_is_not_changed():
    settings = {"logger": [{"api_key": "ab12"}]}
    assert redacted(settings) != settings
    assert settings == {"logger": [{"api_key": "ab12"}]}


def test_passwords_of_addresses_are_left_out():
    assert redacted({"uri": "postgres://me:s3cret@host/base"}) == {"uri": f"postgres://me:{HIDDEN}@host/base"}
    assert redacted(["see https://:ab12@host and http://x:y@z"]) == [
        f"see https://:{HIDDEN}@host and http://x:{HIDDEN}@z"
    ]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--logger.api_key=ab12"], "--logger.api_key"),
        (["--trainer.logger.init_args.password", "ab12"], "--trainer.logger.init_args.password"),
        (["fit", "--token=ab12", "--seed=1"], "--token"),
        (["--uri=https://me:ab12@host"], "a password in an address"),
        (["https://me:ab12@host"], "a password in an address"),
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(arguments, shown):
    with pytest.raises(ValueError, match=f"^Expected no secret .*, but got {shown}. Every user") as error:
        check_command(arguments)
    assert "ab12" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--model.class_token=true"],
        ["--token", "--seed"],
        ["--token"],
        ["--api_key=null", "--password="],
        ["--token=4", "--secret", "-0.5"],
        ["--tokens=ab12", "--url=https://host:80/x", "token", "ab12"],
    ],
)
def test_other_commands_pass(arguments):
    check_command(arguments)
