//! The addresses that mail leaves by: whether it does, and letting it, or not, by hand.

use super::{Admin, AdminError, Why, note, subjects::check_reason};
use crate::{
    rules::egress::Choice,
    store::archive::{EgressChoice, NewEntry},
    types::{Actor, Timestamp},
};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};
use utoipa::ToSchema;

/// What people decided about addresses; replaced whenever somebody decides.
pub type EgressChoices = Arc<ArcSwap<BTreeMap<IpAddr, EgressChoice>>>;

/// An address that mail leaves by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EgressView {
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// `free`, `drained` (other ways are taken first) or `paused` (no mail leaves by it).
    pub mail: String,
    /// Why it is not free.
    pub why: Option<String>,
    /// The next hops that stand for it.
    pub next_hops: Vec<String>,
    /// What somebody decided about it by hand.
    pub choice: Option<ChoiceView>,
}

/// What somebody decided by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChoiceView {
    /// `pause` until somebody takes it back, or `resume` until the address is on no list any more.
    pub choice: Choice,
    /// Since when.
    pub since: Timestamp,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// The address that a path names.
///
/// # Errors
/// [`AdminError::Invalid`] if it is none.
pub fn egress_address(text: &str) -> Result<IpAddr, AdminError> {
    text.parse().map_err(|_| AdminError::Invalid(format!("{text:?} is no IP address")))
}

/// All addresses that next hops stand for.
pub async fn egress(admin: &Admin) -> Vec<EgressView> {
    let readiness = admin.health.readiness().await;
    let addresses: BTreeSet<IpAddr> =
        readiness.next_hops.iter().flat_map(|hop| hop.egress.iter().copied()).collect();
    let (plan, choices) = (admin.steering.load(), admin.choices.load());
    let view =
        |address: IpAddr| {
            let hops = readiness.next_hops.iter().filter(|hop| hop.egress.contains(&address));
            let how = plan.of(&[address]);
            let chosen = choices.get(&address).cloned();
            EgressView {
                address,
                mail: how.name().into(),
                why: how.why().map(ToString::to_string),
                next_hops: hops.map(|hop| hop.next_hop.clone()).collect(),
                choice: chosen.map(|EgressChoice { choice, since, actor, reason, .. }| {
                    ChoiceView { choice, since, actor, reason }
                }),
            }
        };
    addresses.into_iter().map(view).collect()
}

/// Lets no mail leave by an address until somebody takes that back.
///
/// # Errors
/// [`AdminError::NotFound`] if no next hop stands for it, [`AdminError::Conflict`] if that was decided already,
/// [`AdminError::Invalid`] without a reason.
pub async fn pause_egress(
    admin: &Admin,
    address: IpAddr,
    why: &Why,
    actor: &Actor,
) -> Result<EgressView, AdminError> {
    choose(admin, address, (Choice::Pause, why), actor).await
}

/// Lets mail leave by an address although it is listed, or was paused by hand; that lasts until it is on no list any more.
///
/// # Errors
/// As [`pause_egress`].
pub async fn resume_egress(
    admin: &Admin,
    address: IpAddr,
    why: &Why,
    actor: &Actor,
) -> Result<EgressView, AdminError> {
    choose(admin, address, (Choice::Resume, why), actor).await
}

async fn choose(
    admin: &Admin,
    address: IpAddr,
    (choice, why): (Choice, &Why),
    actor: &Actor,
) -> Result<EgressView, AdminError> {
    let reason = check_reason(Some(&why.reason))?;
    // A mapped address is the IPv4 address that it stands for, here as in the configuration.
    let address = address.to_canonical();
    let view = of(admin, address).await?;
    let is_free = view.mail == "free" && view.choice.is_none();
    let is_chosen = view.choice.as_ref().is_some_and(|chosen| chosen.choice == choice);
    if is_chosen || (choice == Choice::Resume && is_free) {
        return Err(AdminError::Conflict(format!("{address}: mail is {} already", view.mail)));
    }
    let (action, since) = match choice {
        Choice::Pause => ("egress-paused", admin.utc()),
        Choice::Resume => ("egress-resumed", admin.utc()),
    };
    let entry = NewEntry {
        subject: Some(format!("egress {address}")),
        before: Some(view.mail),
        reason: Some(reason.to_owned()),
        ..NewEntry::new(since, actor, action)
    };
    note(admin, entry).await?;
    let (actor, reason) = (actor.to_string(), reason.to_owned());
    let chosen = EgressChoice { address, choice, since, actor, reason };
    admin.archive.choose_egress(chosen.clone()).await?;
    admin.choices.rcu(|choices| {
        let mut more = BTreeMap::clone(choices);
        more.insert(address, chosen.clone());
        more
    });
    of(admin, address).await
}

async fn of(admin: &Admin, address: IpAddr) -> Result<EgressView, AdminError> {
    let found = egress(admin).await.into_iter().find(|view| view.address == address);
    found.ok_or_else(|| AdminError::NotFound(format!("no next hop stands for {address}")))
}
