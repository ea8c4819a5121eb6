//! How the types that are written as text stand in the API's document (JSON Schema).

use super::{
    AccountId, Address, CaseId, ClientIp, MessageId, Month, PeerName, PlanName, SessionId, Span,
    TenantId, Timestamp, TokenName, TransactionId,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

/// Describes a type by the text that stands for it.
macro_rules! text {
    ($($name:ident: $description:literal, $example:literal, $build:expr;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let build: fn(ObjectBuilder) -> ObjectBuilder = $build;
                let text = ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some($description))
                    .examples([$example]);
                build(text).into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

text! {
    AccountId: "One mailbox, login or script.", "a@shop.example", name;
    TenantId: "The hosting package or customer that owns accounts.", "shop.example", name;
    PlanName: "A plan of the configuration.", "shared-hosting", label;
    PeerName: "A row of the trust table.", "web01", label;
    TokenName: "The name of a token.", "billing", label;
    SessionId: "A connection.", "1a2b3c", label;
    TransactionId: "A transaction, as in the Received field.", "1a2b3c.1", label;
    CaseId: "A suspension, as the sender hears it.", "TG-7K3M-92QX", label;
    MessageId: "What a message calls itself, with or without angle brackets.", "<1@shop.example>",
        |text| text.min_length(Some(1)).max_length(Some(502));
    Address: "A mail address.", "abuse@provider.example", |text| text.min_length(Some(3)).max_length(Some(320));
    ClientIp: "An address of a client's host.", "192.0.2.7", |text| text;
    Timestamp: "A moment (RFC 3339).", "2026-11-22T09:14:07.042Z",
        |text| text.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    Month: "A month of the calendar.", "2026-11", |text| text.pattern(Some("^[0-9]{4}-[0-9]{2}$"));
    Span: "A length of time.", "1 h", |text| text.pattern(Some("^[0-9]+ ?(ms|s|m|min|h|d)$"));
}

fn name(text: ObjectBuilder) -> ObjectBuilder {
    text.min_length(Some(1)).max_length(Some(320)).pattern(Some(r"^[^\s\x00-\x1f\x7f]+$"))
}

fn label(text: ObjectBuilder) -> ObjectBuilder {
    text.min_length(Some(1)).max_length(Some(64)).pattern(Some("^[A-Za-z0-9._:-]+$"))
}
