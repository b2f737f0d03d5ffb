//! Rust text in, a flat list of tokens with line numbers out: comments and strings cannot be mistaken for code, and the
//! bodies of macros are seen too.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One token; delimiters of a group are tokens of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Ident(String),
    Punct(char),
    /// `(`, `[`, `{`.
    Open(char),
    /// `)`, `]`, `}`.
    Close(char),
    Literal,
}

/// A token and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) token: Token,
    /// Counted from 1.
    pub(super) line: usize,
}

/// The tokens of a file, or the line where it stops being Rust.
pub(super) fn lex(text: &str) -> Result<Vec<Spot>, usize> {
    let stream: TokenStream =
        text.parse().map_err(|error: proc_macro2::LexError| error.span().start().line)?;
    let mut spots = Vec::new();
    flatten(stream, &mut spots);
    Ok(spots)
}

fn flatten(stream: TokenStream, spots: &mut Vec<Spot>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Ident(ident) => spots.push(Spot { token: Token::Ident(ident.to_string()), line }),
            TokenTree::Punct(punct) => spots.push(Spot { token: Token::Punct(punct.as_char()), line }),
            TokenTree::Literal(_) => spots.push(Spot { token: Token::Literal, line }),
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ('(', ')'),
                    Delimiter::Bracket => ('[', ']'),
                    Delimiter::Brace => ('{', '}'),
                    Delimiter::None => (' ', ' '),
                };
                spots.push(Spot { token: Token::Open(open), line });
                flatten(group.stream(), spots);
                spots.push(Spot { token: Token::Close(close), line: group.span_close().start().line });
            }
        }
    }
}

/// Whether the token at `at` is this identifier.
pub(super) fn is_ident(spots: &[Spot], at: usize, name: &str) -> bool {
    matches!(spots.get(at), Some(Spot { token: Token::Ident(ident), line: _ }) if ident == name)
}

/// The identifier at `at`.
pub(super) fn ident(spots: &[Spot], at: usize) -> Option<&str> {
    match &spots.get(at)?.token {
        Token::Ident(ident) => Some(ident),
        Token::Punct(_) | Token::Open(_) | Token::Close(_) | Token::Literal => None,
    }
}

/// Whether the token at `at` is this punctuation character.
pub(super) fn is_punct(spots: &[Spot], at: usize, punct: char) -> bool {
    spots.get(at).is_some_and(|spot| spot.token == Token::Punct(punct))
}

/// Whether `::` starts at `at`.
pub(super) fn is_path_separator(spots: &[Spot], at: usize) -> bool {
    is_punct(spots, at, ':') && is_punct(spots, at + 1, ':')
}
