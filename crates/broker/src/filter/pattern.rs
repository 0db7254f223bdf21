//! Patterns of topics' names.

use std::fmt;
use std::str::FromStr;

use millstream_limits::TOPIC_NAME_BYTES_MAX;
use thiserror::Error;

/// Names in words that are separated by dots. In a pattern `*` stands for one word and `#` for any number of them, none
/// included (AMQP 0-9-1, section 3.1.3.3): `orders.*.eu` matches `orders.new.eu`, and `orders.#` matches `orders` too.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TopicPattern {
    text: Box<str>,
    words: Box<[Word]>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Word {
    /// Any one word.
    One,
    /// Any number of words.
    Many,
    This(Box<str>),
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// There is nothing in it.
    #[error("a topic pattern needs at least one word; `#` matches every topic")]
    Empty,
    /// No name is so long.
    #[error(
        "a topic pattern of {0} bytes is longer than the {TOPIC_NAME_BYTES_MAX} that a name may have"
    )]
    TooLong(usize),
    /// No name has such a character.
    #[error("a topic pattern may not contain the control character {0:?}")]
    ControlCharacter(char),
    /// A wildcard inside a word.
    #[error("in the word {0:?} the wildcard is only a part; `*` and `#` stand for whole words")]
    PartOfAWord(String),
}

impl TopicPattern {
    /// Reads a pattern.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > TOPIC_NAME_BYTES_MAX {
            return Err(PatternError::TooLong(text.len()));
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(PatternError::ControlCharacter(control));
        }
        let mut words: Vec<_> = text.split('.').map(word).collect::<Result<_, _>>()?;
        words.dedup_by(|next, word| matches!((word, next), (Word::Many, Word::Many)));
        Ok(Self {
            text: text.into(),
            words: words.into(),
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether only one name can match, which is then the text.
    pub fn is_literal(&self) -> bool {
        self.words.iter().all(|word| matches!(word, Word::This(_)))
    }

    /// Whether `name` matches. Takes at most as many steps as the pattern's words times the name's.
    pub fn matches(&self, name: &str) -> bool {
        let mut rest = Rest(Some(name));
        let mut at = 0;
        // Where to go on if what follows the last `#` does not fit: that `#` then takes one word more. An earlier one
        // never has to, since whatever it could give up, the last one can take.
        let mut retry: Option<(usize, Rest<'_>)> = None;
        loop {
            let fits = match self.words.get(at) {
                Some(Word::Many) => {
                    at += 1;
                    retry = Some((at, rest));
                    continue;
                }
                Some(word) => rest.next().is_some_and(|found| word.is(found)),
                None if rest.0.is_none() => return true,
                None => false,
            };
            if fits {
                at += 1;
                continue;
            }
            let Some((after, from)) = &mut retry else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            (at, rest) = (*after, *from);
        }
    }
}

fn word(text: &str) -> Result<Word, PatternError> {
    match text {
        "*" => Ok(Word::One),
        "#" => Ok(Word::Many),
        _ if text.contains(['*', '#']) => Err(PatternError::PartOfAWord(text.to_owned())),
        _ => Ok(Word::This(text.into())),
    }
}

impl Word {
    fn is(&self, found: &str) -> bool {
        match self {
            Self::One | Self::Many => true,
            Self::This(word) => **word == *found,
        }
    }
}

/// The words of a name that are not looked at yet.
#[derive(Clone, Copy)]
struct Rest<'a>(Option<&'a str>);

impl<'a> Rest<'a> {
    /// Takes the next word.
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0?;
        match rest.split_once('.') {
            Some((word, rest)) => {
                self.0 = Some(rest);
                Some(word)
            }
            None => self.0.take(),
        }
    }
}

impl FromStr for TopicPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicPattern({:?})", self.text)
    }
}
