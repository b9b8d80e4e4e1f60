//! Types of names: texts that were checked.

/// A type that holds a text for which `$check` says yes; refused texts are what `$error` is made of.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path, $error:path as $error_type:ty) => {
        $(#[$doc])*
        #[derive(
            Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error_type;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if $check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err($error($crate::name::shortened(text)))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error_type;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(crate) use name;

/// A text for a message: cut where it would fill the screen.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    let mut short: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_and_odd_ones_written_out() {
        assert_eq!(shortened("a\nb"), "a\\nb");
        assert_eq!(shortened(&"é".repeat(121)), "é".repeat(120) + "…");
    }
}
