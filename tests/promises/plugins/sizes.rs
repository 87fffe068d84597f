//! An ordinary event of 100 KB is no work that a plugin needs other limits for, in whichever language it is written.

use hookweir_tests::{KEY, Receiver, Reply, endpoint, languages, tenant};
use serde_json::{Value, json};

const LANGUAGES: [&str; 4] = ["rust", "javascript", "python", "c"];
const SIZE: usize = 100_000;

/// An order of at least `SIZE` bytes whose items have this title.
fn order(title: &str) -> String {
    let item = |number: usize| {
        json!({ "sku": format!("SKU-{number:05}"), "quantity": number % 7 + 1, "price": 100 + number % 900,
                "title": title, "tags": ["a", "b"], "weight": 1.5 })
    };
    let mut items: Vec<Value> = Vec::new();
    let mut size = 0;
    while size < SIZE {
        items.push(item(items.len()));
        size += items[items.len() - 1].to_string().len();
    }
    json!({ "id": "A-7", "customer": "Ann", "total": 20_000, "items": items }).to_string()
}

#[tokio::test]
async fn an_event_of_100_kb_fits_the_default_limits_in_each_language() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut tenants = tenant("acme", KEY);
    for language in LANGUAGES {
        let file = languages(language);
        tenants += &format!(
            "[tenants.acme.plugins.{language}]\nfile = \"{}\"\nconfig = {{ minimum = 10000 }}\n",
            file.display()
        );
        let used = format!("filters = [\"{language}\"]\ntransformers = [\"{language}\"]");
        tenants += &endpoint("acme", language, &receiver.url(&format!("/{language}")), &used);
    }
    let gateway = super::gateway_of(tenants, &LANGUAGES.map(languages)).await;
    for title in ["A plain title of an article, in words", "Größe 日本 Wörter für Artikel 😀"] {
        let event = gateway.sender().event("order.created", &order(title)).await;
        for language in LANGUAGES {
            let delivery = gateway.admin().delivery("acme", &event, language, "delivered").await;
            let calls = delivery["attempts"][0]["plugins"].as_array().expect("calls");
            let took: Vec<_> =
                calls.iter().map(|call| (&call["role"], &call["micros"], &call["memory"])).collect();
            println!("{language}, {title}: role, microseconds by the clock, bytes of memory: {took:?}");
            assert_eq!(calls.len(), 2, "{delivery}");
        }
    }
    let mut bodies: Vec<_> = receiver.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies.len(), 2 * LANGUAGES.len());
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 2, "each event is the same in every language");
}
