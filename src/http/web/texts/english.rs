//! English.

use super::{Frame, Limits, Reasons, Said, SignIn, SpanWords, Tenant, Texts, UnitWords, Wrong};
use crate::types::Language;

pub(super) static TEXTS: Texts = Texts {
    language: Language::English,
    name: "English",
    months: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    thousands: ',',
    clock: ':',
    spans: SpanWords { days: "d", hours: "h", minutes: "min", seconds: "s" },
    frame: Frame {
        skip: "Skip to the content",
        sections: "Sections",
        language: "Language",
        sign_out: "Sign out",
        signed_in_as: "Signed in as",
        times_in_utc: "All times are in UTC.",
        as_of: "As of",
        live_on: "Live updates are on.",
        live_off: "Live updates are off.",
        live_ended: "Live updates have ended. Reload the page.",
        live_start: "Turn on",
        live_stop: "Turn off",
    },
    sign_in: SignIn {
        title: "Sign in",
        token: "Access token",
        hint: "Operators make one with “tollgate token create”. Customers get theirs from their provider.",
        button: "Sign in",
        refused: "This token is not valid. It may be mistyped, expired or revoked.",
        later: "Too many attempts failed. Wait a minute and try again.",
        ended: "Your session has ended. Please sign in again.",
        left: "You are signed out.",
    },
    wrong: Wrong {
        home: "Back to the first page",
        not_found: Said {
            title: "There is nothing here",
            text: "The address may be mistyped, or what it led to is gone.",
        },
        forbidden: Said {
            title: "This is not for your token",
            text: "You are signed in, but your token does not allow this. Ask whoever gave it to you if you need more.",
        },
        expired: Said {
            title: "The form is out of date",
            text: "Nothing was changed. Go back, reload the page and try again.",
        },
        failed: Said {
            title: "This cannot be shown right now",
            text: "Mail is handled independently of this page. Try again in a moment.",
        },
        unreadable: Said {
            title: "The request cannot be understood",
            text: "Nothing was changed. Go back and check what was entered.",
        },
        busy: Said { title: "Too many requests", text: "Wait a moment and try again." },
    },
    tenant: Tenant {
        plan: "Plan",
        active: "active",
        suspended: "suspended",
        sending_works: "Sending works.",
        tenant_suspended: "Sending is suspended for all accounts.",
        accounts_suspended: "Sending is suspended for these accounts.",
        since: "Since",
        case: "Case",
        reason: "Reason",
        what_to_do: "What to do",
        what_to_do_suspended: [
            "Find out what sent the mail: change the password of the account, look for scripts and forms that were abused, and scan the computers that know the password.",
            "Write down what you found and changed.",
            "Write to your provider and name the case. Sending begins again as soon as the suspension is lifted.",
        ],
        contact: "Your provider’s contact",
        own_limits: "Limits for all accounts together",
        no_limits: "No limits are set here.",
        accounts: "Accounts",
        no_accounts: Said {
            title: "No account has sent anything yet",
            text: "An account appears here with its first message.",
        },
        more_accounts: "Next accounts",
        first_accounts: "First accounts",
        refusals: "Refused mail",
        refusals_hint: "The latest refusals and what to do about them.",
        no_refusals: Said {
            title: "Nothing was refused",
            text: "Refusals appear here with their reason.",
        },
        times: "times, the last one",
        answer: "What your mail program was told",
    },
    limits: Limits {
        next_slot: "Next free slot",
        now: "now",
        never: "none under this limit",
        when_lifted: "once the suspension is lifted",
        of: "of",
        within: "in",
        per: "in",
        open: "being sent",
        tenant: "all accounts",
        account: "account",
        client: "client address",
        peer: "server",
    },
    units: UnitWords {
        recipients: "recipients",
        messages: "messages",
        null_sender: "bounces",
        new_accounts: "new accounts",
    },
    reasons: Reasons {
        limit: Said {
            title: "The limit was used up",
            text: "Mail programs and servers try again by themselves. Nothing needs to be done unless you need a higher limit.",
        },
        limit_never: Said {
            title: "One message with more recipients than the limit allows",
            text: "Send it in smaller parts.",
        },
        suspended: Said {
            title: "Sending is suspended",
            text: "See the state of the account for the case and what to do.",
        },
        sender_mismatch: Said {
            title: "The sender address does not belong to the login",
            text: "Use the address of your account as sender, or ask your provider to add the other address.",
        },
        not_allowed: Said {
            title: "This way of sending is not allowed",
            text: "Send with the login of your account over SMTP.",
        },
        size: Said { title: "The message is too large", text: "Send a link instead of the file." },
        malformed: Said {
            title: "The message is not well-formed",
            text: "The program that made it breaks the rules for mail. Update it, or ask its maker.",
        },
        busy: Said {
            title: "The server could not take the mail at that moment",
            text: "Mail programs and servers try again by themselves. Tell your provider if it lasts.",
        },
        other: Said {
            title: "Refused",
            text: "The answer says why. Ask your provider if it is not clear.",
        },
    },
};
