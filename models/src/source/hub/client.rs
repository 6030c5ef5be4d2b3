//! Requests to the hub: authorised, sent again where that helps, and their failures put into words.

use super::{HubId, HubOptions};
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Request, Response, StatusCode};
use ureq::{Agent, AsSendBody, Body};

/// A failed request.
#[derive(Debug)]
pub(super) struct Failure {
    /// What is wrong and what to do about it.
    pub problem: String,
    /// What the hub answered, if it did.
    pub status: Option<StatusCode>,
}

impl Failure {
    pub(super) fn broken(problem: impl Into<String>) -> Failure {
        Failure { problem: problem.into(), status: None }
    }

    /// Whether the hub said no, rather than nothing, or that it is busy.
    pub(super) fn refused(&self) -> bool {
        self.status.is_some_and(|status| !is_passing(status))
    }
}

/// The longest that a busy hub is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One hub, spoken to about one model.
#[derive(Debug)]
pub(super) struct Client<'a> {
    pub options: &'a HubOptions,
    pub id: &'a HubId,
    agent: Agent,
}

impl<'a> Client<'a> {
    pub(super) fn new(id: &'a HubId, options: &'a HubOptions) -> Client<'a> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .timeout_per_write(Some(Duration::from_secs(60)))
            .build();
        Client { options, id, agent: config.into() }
    }

    /// Gets an URL, its redirects followed.
    pub(super) fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, Failure> {
        self.send("GET", url, headers, || Ok(()))
    }

    /// Asks for the headers of an URL, redirects included.
    pub(super) fn head(&self, url: &str) -> Result<Response<Body>, Failure> {
        // A compressed answer would give another length and another etag.
        self.send("HEAD", url, &[("accept-encoding", "identity")], || Ok(()))
    }

    /// Sends a request, with the token if it goes to the hub itself and not to a storage that the hub points to; `body` makes its
    /// body anew for every try.
    ///
    /// A HEAD request follows no redirects.
    pub(super) fn send<B: AsSendBody>(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Fn() -> std::io::Result<B>,
    ) -> Result<Response<Body>, Failure> {
        let to_hub = url.strip_prefix(&self.options.endpoint).is_some_and(|rest| rest.starts_with('/'));
        let bearer = self.options.token.as_ref().filter(|_| to_hub).map(|token| format!("Bearer {token}"));
        let mut headers = headers.to_vec();
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let mut tries = 0;
        loop {
            let mut request = Request::builder().method(method).uri(url);
            for (name, value) in &headers {
                request = request.header(*name, *value);
            }
            let body = body().map_err(|e| Failure::broken(format!("cannot read what to send: {e}")))?;
            let request = request.body(body).map_err(|e| Failure::broken(format!("{url} makes no request: {e}")))?;
            let redirects = if method == "HEAD" { 0 } else { 10 };
            let request = self.agent.configure_request(request).max_redirects(redirects).build();
            let answer = self.agent.run(request).map_err(|e| Failure::broken(no_answer(&e)))?;
            let status = answer.status();
            if status.is_success() || (status.is_redirection() && method == "HEAD") {
                return Ok(answer);
            }
            let wait = retry_after(answer.headers()).unwrap_or_else(|| backoff(tries));
            if !is_passing(status) || tries == self.options.retries || wait > LONGEST_WAIT {
                return Err(self.refusal(answer));
            }
            tries += 1;
            tracing::info!("{url} answers {status}; trying again in {:.1} s", wait.as_secs_f64());
            std::thread::sleep(wait);
        }
    }

    /// What an answer that is no success means. The hub says it in headers, since an answer to HEAD has nothing else.
    fn refusal(&self, mut answer: Response<Body>) -> Failure {
        let status = answer.status();
        let text = |name: &str| header(answer.headers(), name).unwrap_or_default().to_string();
        let (code, mut message) = (text("x-error-code"), text("x-error-message"));
        let wait = retry_after(answer.headers());
        if message.is_empty() {
            let body = answer.body_mut().read_to_string().unwrap_or_default();
            let error = serde_json::from_str::<serde_json::Value>(&body).ok();
            message = error.and_then(|e| e.get("error")?.as_str().map(str::to_string)).unwrap_or_default();
        }
        let HubId { id, revision } = self.id;
        let endpoint = &self.options.endpoint;
        let has_token = self.options.token.is_some();
        let problem = match (code.as_str(), status.as_u16()) {
            ("RevisionNotFound", _) => {
                format!(
                    "the repository has no revision `{revision}`; give a branch, a tag or a commit that {endpoint}/{id} lists"
                )
            }
            ("EntryNotFound", _) => "the repository has no such file at this revision".to_string(),
            ("GatedRepo", _) if has_token => format!(
                "the model is gated, and the account of the token has no access: ask for it on {endpoint}/{id}, or give another token in HF_TOKEN"
            ),
            ("GatedRepo", _) => format!(
                "the model is gated: accept its conditions on {endpoint}/{id}, and set HF_TOKEN to a token of the account that did"
            ),
            (_, 401) if message.contains("Invalid credentials") => format!(
                "the hub does not accept the token (HF_TOKEN, or the file that `hf auth login` wrote); make one at {endpoint}/settings/tokens"
            ),
            ("RepoNotFound", _) | (_, 401 | 404) => format!(
                "there is no such repository that {} may see: check the spelling{}",
                if has_token { "this token" } else { "everyone" },
                if has_token { "" } else { ", and for a private or gated model set HF_TOKEN or run `hf auth login`" }
            ),
            (_, 403) => {
                "the token does not allow this; check its permissions and the account's access to the model".to_string()
            }
            (_, 429) => match wait {
                Some(wait) => format!("the hub takes no more requests for now; try again in {} s", wait.as_secs()),
                None => "the hub takes no more requests for now; try again later".to_string(),
            },
            (_, 500..) => "the hub has a problem of its own; try again later".to_string(),
            _ => "the hub refuses the request".to_string(),
        };
        let said = if message.is_empty() { String::new() } else { format!(", \"{message}\"") };
        Failure { problem: format!("{problem} (status {}{said})", status.as_u16()), status: Some(status) }
    }
}

/// A header's value, where it is text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// How long to wait before try number `tries + 1`.
pub(super) fn backoff(tries: u32) -> Duration {
    Duration::from_millis(500 << tries.min(5))
}

/// Whether a later try may be answered otherwise.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// How long a busy hub asks to wait: `Retry-After`, or the `t` of `RateLimit`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let limit = || header(headers, "ratelimit")?.split(';').find_map(|part| part.trim().strip_prefix("t="));
    let seconds = header(headers, "retry-after").or_else(limit)?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

fn no_answer(error: &ureq::Error) -> String {
    format!("{error}; check the network, the proxy's settings and HF_ENDPOINT, or give a local folder")
}
