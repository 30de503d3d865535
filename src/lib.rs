//! minik: a Kubernetes network that you can take apart. This page is the tour.
//!
//! One idea carries everything: **the cluster's data plane is a value**. Input files say what was asked; pure
//! code turns that into a [`plan::Plan`], every namespace with its links, addresses, routes, sets and rules; only
//! [`kernel`] makes it real. The same plan is printed, written out as a shell script, walked by a virtual packet,
//! compared with the live kernel, and compared with what real packets did. What needs a second description of the
//! network is in the wrong place.
//!
//! ```text
//!  topologies/*.yaml, Kubernetes manifests
//!         │ parse, check, place pods on nodes               topology   (pure)
//!         ▼
//!      Cluster ─ cni, ipam, proxy ─▶ Plan ──── kernel ────▶ namespaces, links, routes, rules
//!                    (pure)          │                          │        ▲
//!                                predict (pure)             probe: inject, capture
//!                                    │                          │        │
//!                                    ▼                          ▼      agent, tunnel: programs in pods,
//!                              predicted path ◀── verify ──▶ observed path    tunl0 where there is no ipip
//! ```
//!
//! # The modules, in the order in which a cluster passes them
//!
//! | module | what it does |
//! |---|---|
//! | [`topology`] | input text → [`topology::Cluster`]: what was asked for, checked, every pod with its node |
//! | [`ipam`] | Calico's own block and address choice |
//! | [`cni`] | Cluster → Plan: one file per mode, and what modes share |
//! | [`proxy`] | Services and endpoints → the rules of kube-proxy, kubelet and host ports |
//! | [`compose`] | a mode's plan and those rules → the whole Plan |
//! | [`plan`] | the Plan itself, and its forms: text, shell script, restore files, comparable facts |
//! | [`kernel`] | Plan → kernel by netlink and restore tools, back again, and away; the one door into namespaces |
//! | [`dns`] | what the cluster's DNS server answers, and where pods ask |
//! | [`packet`] | frames as values: built, decoded, printed |
//! | [`predict`] | a virtual packet's journey through a Plan, frame by frame |
//! | [`probe`] | real packets: injected, captured everywhere, all pairs asked |
//! | [`verify`] | prediction against observation: checks, first divergence, cause, report |
//! | [`tunnel`] | the engine behind TUN devices: those that stand in for `tunl0` and kube-router's `tun-…`, and flannel's `flannel0` |
//! | [`agent`] | the one background process of a cluster: pods' programs, tunnels, daemons and what they put back |
//! | [`cli`] | the commands, and what they print |
//!
//! Below all of them: [`error`], the one error type, whose kind is the exit code; [`names`], every derived name;
//! `parallel`, which shares long work among threads.
//! Who may use whom is a table in `tests/layers.rs`, and a test holds the code to it.
//!
//! # What always holds
//!
//! 1. **The host's network is not touched.** Both ends of every link are in namespaces of minik's. On the host
//!    appear names under /run/netns and /etc/netns, and /run/minik.
//! 2. **Ownership is by name**: `minik-<cluster>-…` is that cluster's. `down` removes what is called so, all of it
//!    and nothing else, whatever state it is in and without the input.
//! 3. **Names inside are the real ones**: `tunl0`, `cali…`, `ens33`, `cali-FORWARD`.
//! 4. **Synchronous**: when `up` returns, packets pass; when `down` returns, everything is freed. Nobody sleeps.
//! 5. **Pure where it can be**: topology, ipam, cni, proxy, compose, plan, packet and predict know no clock, file, process
//!    or socket.
//! 6. **Deterministic**: equal input gives an equal plan, byte for byte. What is random on a real cluster is a hash.
//! 7. **Honest replacements**: what stands in for something that this kernel lacks is named in `up`, `status`,
//!    `doctor` and `verify`; what cannot be replaced is refused before anything is touched.
//! 8. **One door**: nothing enters a namespace but through [`kernel::netns`] and [`kernel::place`].
//! 9. **In batches**: kernel objects go out in few sends, netfilter by one restore per namespace.
//! 10. **No swallowed error**: it is returned, collected ([`error::ErrorList`]), or a comment says why it cannot matter.
//!
//! # How to add a mode
//!
//! 1. A variant of [`topology::Mode`], in `ALL` and `name`; the compiler then names the places that must know it.
//! 2. A file of its name in src/cni/. In Calico's family it is a value like that of
//!    src/cni/calico_ipip.rs: a tunnel device, and the route to a remote block.
//!    A mode of another family is a function from [`topology::Cluster`] to [`plan::Plan`], chosen in [`cni::plan`].
//! 3. What it needs from the kernel, in [`cni::needs`]: `doctor` and `up` go by that. A need of a new sort is an arm
//!    of `features_of` in src/cli/doctor.rs, by names of rows in [`kernel::survey::catalogue`], which say how it is tried.
//! 4. A new sort of device is a variant of [`plan::LinkKind`]: how it is made (`kernel::messages`), written as a script
//!    (`plan::shell`), and how packets pass it (`predict`).
//! 5. What its daemons look after again and again, and how often: [`plan::Namespace::keepers`].
//! 6. `topologies/<mode>.yaml`, listed in [`topology::builtin`]: the cluster that documents and tests show.
//! 7. `MINIK_BLESS=1 cargo test --test golden --test predict` writes the plan and the paths as text; read both beside
//!    the real system's documentation. `minik verify <mode>` then proves it with packets: it has no code of any mode.

pub mod agent;
pub mod cli;
pub mod cni;
pub mod compose;
pub mod dns;
pub mod error;
pub mod ipam;
pub mod kernel;
pub mod names;
pub mod packet;
mod parallel;
pub mod plan;
pub mod predict;
pub mod probe;
pub mod proxy;
pub mod topology;
pub mod tunnel;
pub mod verify;
