//! `corelog config`: what topics and brokers are set to, and changes of what topics are.

use std::io::{self, Write};
use std::process::ExitCode;

use corelog_client::{
    Admin, BrokerId, ConfigChange, ConfigDescription, ConfigResource, ConfigSource, ConfigType,
};
use serde::Serialize;

use crate::args::{ConfigCommand, ConfigOwner, Format, Global};
use crate::output;
use crate::table::Table;
use crate::topic::source_name;

pub(crate) async fn run(command: &ConfigCommand, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.config(&[("default.api.timeout.ms", "5000".to_owned())]);
    let admin = Admin::new(&config).await?;
    let format = global.format;
    match command {
        ConfigCommand::Describe {
            owner,
            all,
            verbose,
        } => describe(&admin, owner, *all, *verbose, format).await?,
        ConfigCommand::Set { topic, settings } => {
            let changes = settings.iter().map(|setting| ConfigChange {
                name: setting.name.clone(),
                value: Some(setting.value.clone()),
            });
            alter(&admin, topic, changes.collect(), format).await?;
        }
        ConfigCommand::Unset { topic, names } => {
            let changes = names.iter().map(|name| ConfigChange {
                name: name.clone(),
                value: None,
            });
            alter(&admin, topic, changes.collect(), format).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Setting {
    name: String,
    value: String,
    source: &'static str,
    default: String,
    #[serde(rename = "type")]
    value_type: &'static str,
    read_only: bool,
    documentation: String,
}

async fn describe(
    admin: &Admin,
    owner: &ConfigOwner,
    all: bool,
    verbose: bool,
    format: Format,
) -> anyhow::Result<()> {
    let resource = match (&owner.topic, owner.broker) {
        (Some(topic), _) => ConfigResource::topic(topic),
        (None, Some(broker)) => ConfigResource::broker(BrokerId::new(broker)),
        (None, None) => unreachable!("the command line names one of the two"),
    };
    let name = match &owner.topic {
        Some(topic) => topic.clone(),
        None => format!("broker {}", resource.name),
    };
    let mut settings = Vec::new();
    for described in admin.describe_configs(&[resource]).await? {
        let wanted = described?
            .into_iter()
            .filter(|setting| all || setting.source != ConfigSource::Default);
        settings.extend(wanted.map(Setting::from));
    }
    output::print(format, &settings, |out| {
        if settings.is_empty() {
            writeln!(
                out,
                "{name}: every setting has its default, --all shows them"
            )
        } else if verbose {
            settings.iter().try_for_each(|setting| setting.explain(out))
        } else {
            tabulate(&settings, out)
        }
    })
}

fn tabulate(settings: &[Setting], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["CONFIG", "VALUE", "SOURCE", "DEFAULT", "TYPE"]);
    for setting in settings {
        table.row([
            setting.name.clone(),
            shown(&setting.value).to_owned(),
            setting.source.to_owned(),
            shown(&setting.default).to_owned(),
            setting.value_type.to_owned(),
        ]);
    }
    table.write(out, "")
}

impl Setting {
    /// On lines of its own, since an explanation is longer than a column.
    fn explain(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{} = {}  ({}; {}, by default {})",
            self.name,
            shown(&self.value),
            self.source,
            self.value_type,
            shown(&self.default)
        )?;
        writeln!(out, "    {}", self.documentation)
    }
}

/// An empty value would look like a missing one.
fn shown(value: &str) -> &str {
    if value.is_empty() { "not set" } else { value }
}

impl From<ConfigDescription> for Setting {
    fn from(setting: ConfigDescription) -> Self {
        Self {
            name: setting.name,
            value: setting.value,
            source: source_name(setting.source),
            default: setting.default_value,
            value_type: match setting.value_type {
                ConfigType::Boolean => "boolean",
                ConfigType::Text => "text",
                ConfigType::List => "list",
                ConfigType::Short => "short",
                ConfigType::Int => "int",
                ConfigType::Long => "long",
                ConfigType::Double => "double",
            },
            read_only: setting.read_only,
            documentation: setting.documentation,
        }
    }
}

async fn alter(
    admin: &Admin,
    topic: &str,
    changes: Vec<ConfigChange>,
    format: Format,
) -> anyhow::Result<()> {
    admin.alter_topic_configs(topic, &changes).await?;
    let altered = serde_json::json!({ "name": topic, "changes": changes.len() });
    output::print(format, &altered, |out| writeln!(out, "altered {topic}"))
}
