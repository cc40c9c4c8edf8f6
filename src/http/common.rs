//! The headers that every answer of this server has, made once: who may read it in a browser, and
//! that it is what it says it is.
//!
//! CORS is the Fetch standard's. No credentials are allowed for, since nothing here is known by a
//! cookie: a page that wants to be somebody sends `Authorization`.

/// Which pages of other origins may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    Any,
    Nobody,
    /// Each as a browser sends it: scheme, host, and the port unless it is the scheme's own.
    Listed(Vec<String>),
}

macro_rules! security {
    () => {
        "X-Content-Type-Options: nosniff\r\n"
    };
}

macro_rules! companions {
    () => {
        "Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n\
         Access-Control-Allow-Headers: Content-Type, Authorization\r\n\
         Access-Control-Max-Age: 86400\r\n"
    };
}

/// Header lines, each with its CRLF.
#[derive(Debug, Clone, Copy)]
pub struct CommonHeaders {
    /// For whoever is not listed.
    others: &'static [u8],
    listed: &'static [(String, String)],
}

impl CommonHeaders {
    /// For pages of any origin, which is the default.
    pub const ANY: Self = Self {
        others: concat!("Access-Control-Allow-Origin: *\r\n", companions!(), security!())
            .as_bytes(),
        listed: &[],
    };

    /// To be made once: the memory is never given back.
    pub fn new(origins: &Origins) -> Self {
        match origins {
            Origins::Any => Self::ANY,
            Origins::Nobody => Self { others: security!().as_bytes(), listed: &[] },
            Origins::Listed(origins) => {
                // A cache must not give one origin the answer for another.
                let vary = "Vary: Origin\r\n";
                let lines = |origin: &String| {
                    let allowed = format!("Access-Control-Allow-Origin: {origin}\r\n");
                    (origin.clone(), [&allowed, vary, companions!(), security!()].concat())
                };
                Self {
                    others: concat!("Vary: Origin\r\n", security!()).as_bytes(),
                    listed: Vec::leak(origins.iter().map(lines).collect()),
                }
            }
        }
    }

    /// The lines for an answer to a request with this `Origin`.
    pub fn lines(self, origin: Option<&[u8]>) -> &'static [u8] {
        let mut listed = self.listed.iter();
        let found = listed.find(|(name, _)| Some(name.as_bytes()) == origin);
        found.map_or(self.others, |(_, lines)| lines.as_bytes())
    }
}
