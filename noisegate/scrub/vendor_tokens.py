"""What makers give their tokens: prefixes and lengths, hosts of secret addresses, makers' names.

As the makers document them and public scanners list them. Data only: `secret_rules` looks with it.
"""

from noisegate.scrub.rule import words

VENDOR_TOKENS = {
    "github": (
        r"gh[opsur]_(?:[0-9A-Za-z]{30,255}|\d{1,16}_eyJ[\w.-]{20,2048})",
        r"github_pat_[0-9A-Za-z_]{22,255}",
    ),
    "gitlab": (
        r"gl(?:agent|cbt|ffct|ft|imt|oas|pat|ptt|rt|dt|rtr|soat|wt)-[\w.-]{20,255}",
        r"GR1348941[\w-]{20,64}",
    ),
    "slack": (
        r"(?:xoxe\.)?xox[abceoprs]-[0-9A-Za-z-]{10,512}",
        r"xapp-\d-[0-9A-Za-z-]{10,255}",
    ),
    "stripe": (
        r"[prs]k_(?:live|test|prod)_[0-9A-Za-z]{14,255}",
        r"whsec_[0-9A-Za-z+/]{24,255}={0,2}",
    ),
    "openai": (
        r"sk-[0-9A-Za-z]{20,255}",
        r"sk-(?:admin|ant|lf|or|proj|svcacct)-[\w-]{20,255}",
        r"sess-[0-9A-Za-z]{40,64}",
    ),
    "language_models": (
        r"gsk_[0-9A-Za-z]{40,64}",
        r"xai-[\w-]{40,128}",
        r"pplx-[0-9A-Za-z]{40,64}",
        r"nvapi-[\w-]{40,128}",
        r"r8_[0-9A-Za-z]{36,40}",
        r"jina_[0-9A-Za-z]{40,80}",
        r"tvly-[0-9A-Za-z-]{20,64}",
        r"fw_[0-9A-Za-z]{22,40}",
        r"csk-[0-9a-z]{40,64}",
        r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}",
        r"pcsk_\w{40,128}",
        r"(?:hf|api_org)_[0-9A-Za-z]{30,64}",
    ),
    "google": (
        r"AIza[\w-]{35}",
        r"ya29\.[\w.-]{20,1024}",
        r"GOCSPX-[\w-]{20,64}",
        r"1//0[\w-]{30,255}",
    ),
    "aws": (
        r"ABSK[0-9A-Za-z+/]{60,255}={0,2}",
        r"bedrock-api-key-[\w+/=]{20,2048}",
        r"da2-[0-9a-z]{26}",
        r"amzn\.mws\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"amzn1\.oa2-cs\.v1\.[0-9a-f]{32,80}",
        r"A(?:BI|CC)A[0-9A-Z]{16}",
    ),
    "azure": (
        r"[0-9A-Za-z]{42}(?:AzSe[0-9A-Za-z]{6}|[0-9A-Za-z]{2}AzFu[0-9A-Za-z+/]{8}={0,2}"
        r"|[0-9A-Za-z]{10}JQQJ9[0-9A-Za-z]{16,30})",
    ),
    "clouds": (
        r"LTAI[0-9A-Za-z]{12,24}",
        r"AKID[0-9A-Za-z]{28,40}",
        r"SCW[0-9A-Z]{17}",
        r"HRKU-[\w-]{36,80}",
        r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}",
        r"cf(?:ut|at|k)_[0-9A-Za-z]{36,64}",
        r"do[opr]_v1_[0-9a-f]{40,64}",
    ),
    "hosters": (
        r"fm[12][ar]?_[0-9A-Za-z+/=]{60,2048}",
        r"fo1_[\w-]{40,64}",
        r"nfp_[0-9A-Za-z]{36,40}",
        r"vercel_\w{20,64}",
        r"vc[akpir]_[0-9A-Za-z]{40,64}",
        r"rnd_[0-9A-Za-z]{24,40}",
    ),
    "builds": (
        r"bkua_[0-9a-z]{40}",
        r"CCI(?:PAT|PRJ)_[0-9A-Za-z]{10,40}_[0-9a-f]{40}",
        r"pul-[0-9a-f]{40}",
        r"dckr_[op]at_[\w-]{20,64}",
        r"sq[aup]_[0-9a-f]{40}",
        r"waka_[0-9a-f-]{36}",
        r"AKCp[0-9A-Za-z]{60,80}",
        r"cmVmd[0-9A-Za-z]{59}",
        r"sgp_(?:[0-9A-Za-z]{1,24}_)?[0-9A-Fa-f]{40}",
        r"slk_[0-9a-f]{64}",
    ),
    "packages": (
        r"npm_[0-9A-Za-z]{30,64}",
        r"pypi-[\w-]{40,512}",
        r"rubygems_[0-9a-f]{40,64}",
        r"oy2[0-9a-z]{43}",
        r"cio[0-9A-Za-z]{32}",
        r"CLOJARS_[0-9a-f]{60}",
    ),
    "mail": (
        r"SG\.[\w-]{16,64}\.[\w-]{16,64}",
        r"key-[0-9a-f]{32}",
        r"SK[0-9a-f]{32}",
        r"mlsn\.[0-9a-f]{64}",
        r"x(?:keysib|smtpsib)-[0-9a-f]{64}-[0-9A-Za-z]{16}",
        r"re_[0-9A-Za-z]{8}_[0-9A-Za-z]{20,32}",
        r"[0-9a-z]{32}(?:[0-9a-z]{0,4}NRAL|-us\d{1,2}|-[0-9a-f]{8}-[0-9a-f]{8})",
    ),
    "vault": (
        r"hv[bsr]\.[\w-]{20,1024}",
        r"[\w-]{14}\.atlasv1\.[\w-]{50,80}",
    ),
    "monitoring": (
        r"NR(?:AK|II|IQ|JS|RA|SP|AA|BR|MA|AL)-[\w-]{16,40}",
        r"sntry[su]_[\w=+/-]{40,512}",
        r"dt0[a-z]\d\d\.[0-9A-Z]{8,24}\.[0-9A-Z]{64}",
        r"hc[ax]ik_[0-9A-Za-z]{32,80}",
        r"ph[cxs]_\w{32,64}",
        r"sdk-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"snyk_uat\.[\w.-]{20,200}",
        r"pdus\+_[\w-]{20}",
    ),
    "atlassian": (
        r"AT(?:ATT3|CTT3|BB)[\w=-]{24,512}",
        r"BBDC-[0-9A-Za-z+/@_-]{40,64}",
    ),
    "offices": (
        r"ntn_[0-9A-Za-z]{30,64}",
        r"secret_[0-9A-Za-z]{43}",
        r"pat[0-9A-Za-z]{14}\.[0-9a-f]{60,64}",
        r"figd_[\w-]{36,64}",
        r"CFPAT-[\w-]{43}",
        r"ops_ey[\w=-]{100,4096}",
        r"sl\.[\w-]{100,256}",
        r"A3-[0-9A-Z]{6}(?:-[0-9A-Z]{5,11}){3,6}",
        r"lin_(?:api|oauth)_[0-9A-Za-z]{30,64}",
        r"tfp_[\w.-]{40,64}",
        r"1000\.[0-9a-f]{32}\.[0-9a-f]{32}",
    ),
    "commerce": (
        r"shp(?:at|ca|pa|ss|tka)_[0-9A-Za-z]{32,40}",
        r"sq0[a-z]{3}-[\w-]{22,60}",
        r"EAAA[\w+=-]{56,80}",
        r"access_token\$production\$[0-9a-z]{16}\$[0-9a-f]{32}",
        r"FLW(?:PUB|SEC)K[_-][\w-]{20,64}",
        r"rzp_(?:live|test)_[0-9A-Za-z]{14,24}",
        r"ak_(?:live|test)_[\w-]{20,64}",
        r"APP_USR-[\w-]{40,80}",
        r"pat-(?:na|eu|ap)\d-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"EZ[AT]K[0-9A-Za-z]{54}",
        r"duffel_(?:live|test)_[\w=-]{40,48}",
        r"shippo_(?:live|test)_[0-9a-f]{40}",
    ),
    "chats": (
        r"\d{8,10}:AA[\w-]{32,35}",
        r"[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,40}",
        r"IGQV[\w-]{40,255}",
        r"EAA[A-Z][0-9A-Za-z]{40,255}",
        r"EAACEdEose0cBA[0-9A-Za-z]{10,255}",
        r"\d{13,17}\|[\w-]{27,40}",
        r"AAAA[A-Z][\w-]{6}:[\w-]{140}",
    ),
    "databases": (
        r"dapi[0-9a-f]{32}(?:-\d)?",
        r"pscale_(?:tkn|pw|oauth)_[\w=.-]{32,64}",
        r"mdb_sa_sk_[\w-]{36,48}",
        r"AVNS_[\w-]{16,24}",
        r"sbp_(?:v\d_)?[0-9a-z]{40}",
        r"sb_secret_[\w-]{20,64}",
        r"rdme_[0-9a-z]{70}",
        r"4b1d[0-9A-Za-z]{38}",
        r"napi_[0-9a-z]{40,64}",
    ),
    "clusters": (
        r"dp\.(?:audit|ct|pt|sa|scim|st)\.[\w.-]{30,80}",
        r"sha256~[\w-]{43}",
        r"tskey-(?:[a-z]{2,8}-)?[0-9A-Za-z-]{16,80}",
        r"K10[0-9a-f]{64}(?:::[\w:.-]{4,80})?",
        r"SWMTKN-1-[0-9a-z]{40,60}-[0-9a-z]{20,30}",
        r"akab-[0-9a-z]{16}-[0-9a-z]{16}",
    ),
    "keys": (
        r"AGE-SECRET-KEY-1[0-9A-Z]{50,64}",
        r"gAAAA[AB][\w-]{60,1024}={0,2}",
        r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",
        r"s-s4t2(?:af|ud)-[0-9a-f]{64}",
        r"ion_[0-9A-Za-z]{40,48}",
    ),
}
"""Tokens that their makers gave a shape: maker or field -> patterns, from the token's start."""

VENDOR_HEAD = (
    r"(?:\.(?:GS|exox|92ay|ls|[bsr]vh|nslm|(?:tidua|tp|ts|tc|as|mics)\.pd|swm\.nzma"
    r"|1vsalta\.[\w-]{14}|1v(?:\.sc-2ao\.1nzma)?|tau_kyns|0001|(?:[0-9A-Z]{8,24}\.)?\d\d[a-z]0td)|:\d{8,10}"
    r"|:[\w-]{6}[A-Z]AAAA|~652ahs|\|\d{13,17}|\+sudp|//1"
    r"|\$(?:[0-9a-z]{16}\$)?noitcudorp\$nekot_ssecca)?"
)
"""What may stand between a token's start and its first long run of letters, digits, `_` and `-`,
where it is looked for: written backwards."""

WEBHOOKS = (
    r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/"
    r"|(?:\w+\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/"
    r"|[\w.-]{1,64}\.webhook\.office\.com/webhookb2/|outlook\.office(?:365)?\.com/webhook/"
    r"|api\.telegram\.org/(?:file/)?bot|events\.pagerduty\.com/integration/"
    r"|hooks\.zapier\.com/hooks/(?:catch/)?|hooks?\.(?:[\w-]{1,16}\.)?(?:make|integromat)\.com/"
    r"|maker\.ifttt\.com/trigger/[\w-]{1,64}/(?:json/)?with/key/|hc-ping\.com/"
    r"|open\.(?:feishu\.cn|larksuite\.com)/open-apis/bot/v2/hook/"
    r"|[\w-]{1,64}\.tines\.(?:com|io)/webhook/|alert\.victorops\.com/integrations/"
    r"|api\.(?:eu\.)?opsgenie\.com/v1/json/|[\w.-]{1,64}\.logic\.azure\.com/workflows/"
    r"|[\w-]{1,64}\.grafana\.net/integrations/v1/[\w-]{1,40}/"
)
"""Hosts and paths of addresses that are secrets from there on: who knows one may post."""

MAKERS = words("""
    abuseipdb adafruit airbrake airtable aiven alchemy algolia amplitude anthropic anyscale
    apify apollo appcenter appdynamics appveyor asana assemblyai atlassian auth0 aws azure
    beamer binance bitbucket bitfinex bitly box braintree brevo bugsnag buildkite cerebras
    circleci clarifai clearbit clickhouse cloudant cloudflare cloudinary codecov cohere coinbase
    confluent contentful coralogix coveralls cypress databricks datadog dd deepgram deepl
    deepseek digitalocean discord doppler dropbox dynatrace elastic elevenlabs eventbrite expo
    facebook fastly figma firebase fixer flutterwave fly foursquare freshdesk freshservice gcp
    gemini geoapify ghost giphy gitea github gitlab google gpt grafana groq gumroad harness heap
    helpscout heroku honeybadger honeycomb hubspot huggingface ibm infura instana intercom
    ipinfo ipstack jenkins jfrog jira jumpcloud kraken langfuse langsmith launchdarkly lightstep
    line linear linkedin linode lob logdna loggly logz logzio looker mailchimp mailgun mailjet
    mandrill mapbox maps mattermost maxmind messagebird metabase mistral mixpanel mongodb
    moralis mux nessus netlify newrelic nexmo ngrok notion npm nr nuget nvidia okta onesignal
    openai openrouter openweather openweathermap opsgenie optimizely pagerduty paypal perplexity
    pinecone pingdom pinterest plaid planetscale plivo posthog postman postmark pubnub pulumi
    pusher pypi qualys quay raygun razorpay readme recaptcha render replicate resend rollbar
    rubygems salesforce saucelabs scaleway segment sematext sendbird sendgrid sentinelone sentry
    servicenow shodan shopify signalfx slack snowflake snyk sonar sonarcloud sonarqube sparkpost
    splunk spotify square squareup stackhawk statuscake statuspage stripe sumo sumologic
    supabase tailscale tavily telegram tencent terraform tfe threatstack travis trello twilio
    twitch twitter typeform uptimerobot vercel victorops virustotal vonage voyage wandb
    weatherstack webflow wiz workos xai xero yandex youtube zapier zendesk zenserp zerossl zoho
    zoom
""")
"""Names of services whose keys are secrets: `mailgun_key` promises one, `cache_key` does not."""
