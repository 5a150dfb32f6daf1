// The program of the guide on the first page of this crate's documentation: it takes orders and bills them.
//
//     cargo run -p corelog-client --example guide -- 127.0.0.1:9190

use std::collections::BTreeMap;
use std::time::Duration;

use corelog_client::{Admin, ClientConfig, GroupConsumer, NewTopic, Producer, ProducerRecord};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ORDERS: u64 = 1_000;
const CUSTOMERS: u64 = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let servers = std::env::args().nth(1).ok_or("usage: guide HOST:PORT")?;
    let bill = take_and_bill_orders(&servers).await?;
    for (customer, apples) in bill {
        println!("{customer}: {apples} apples");
    }
    Ok(())
}

/// Sends all orders, reads them as a group does, and returns what each customer ordered.
pub(crate) async fn take_and_bill_orders(servers: &str) -> Result<BTreeMap<String, u64>, Failure> {
    let config = ClientConfig::new().set("bootstrap.servers", servers);
    create_topic(&config).await?;
    take_orders(&config).await?;
    bill_orders(&config).await
}

async fn create_topic(config: &ClientConfig) -> Result<(), Failure> {
    let admin = Admin::new(config).await?;
    let orders = NewTopic {
        name: "orders".to_owned(),
        partitions: Some(3),
        replication_factor: None,
        configs: Vec::new(),
    };
    // The call as a whole may fail, and so may each topic.
    for created in admin.create_topics(&[orders]).await? {
        created?;
    }
    Ok(())
}

async fn take_orders(config: &ClientConfig) -> Result<(), Failure> {
    let producer = Producer::new(config).await?;
    let mut deliveries = Vec::new();
    for number in 0..ORDERS {
        let customer = format!("customer-{}", number % CUSTOMERS);
        let apples = (number / CUSTOMERS + 1).to_string();
        // Orders of one customer go to one partition, and stay in this order.
        let order = ProducerRecord::to("orders").key(&customer).value(&apples);
        deliveries.push(producer.send(order).await?);
    }
    for delivery in deliveries {
        // The order is safe from a power cut now, and is in the log once.
        delivery.await?;
    }
    producer.close(Duration::from_secs(30)).await?;
    Ok(())
}

async fn bill_orders(config: &ClientConfig) -> Result<BTreeMap<String, u64>, Failure> {
    let config = config
        .clone()
        .set("group.id", "billing")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", false);
    let mut consumer = GroupConsumer::new(&config).await?;
    consumer.subscribe(["orders"])?;
    let mut bill = BTreeMap::new();
    let mut billed = 0;
    while billed < ORDERS {
        let records = match consumer.poll(Duration::from_secs(1)).await {
            Ok(records) => records,
            // Brokers restart, groups rebalance: the next poll goes on.
            Err(error) if error.is_retriable() => continue,
            Err(error) => return Err(error.into()),
        };
        for record in &records {
            let customer = std::str::from_utf8(record.key.as_deref().unwrap_or_default())?;
            let apples = std::str::from_utf8(record.value.as_deref().unwrap_or_default())?;
            *bill.entry(customer.to_owned()).or_default() += apples.parse::<u64>()?;
            billed += 1;
        }
        // Processed, then committed: after a crash these may be billed again, and none is forgotten.
        consumer.commit().await?;
    }
    consumer.close().await?;
    Ok(bill)
}
