import com.fasterxml.jackson.databind.JsonNode;
import java.util.HashMap;
import java.util.Map;

/** The consumers that tests have joined to groups, by the names that tests gave them. */
final class Members {
    private final String bootstrap;
    private final Map<String, Member> members = new HashMap<>();

    Members(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    void offer(Map<String, Agent.Operation> operations) {
        operations.put("join", this::join);
        operations.put("tell", this::tell);
    }

    private Object join(JsonNode arguments) {
        Member member = new Member(bootstrap, arguments);
        members.put(arguments.get("member").asText(), member);
        member.start();
        return null;
    }

    private Object tell(JsonNode arguments) throws Exception {
        String name = arguments.get("member").asText();
        Member member = members.get(name);
        switch (arguments.get("what").asText()) {
            case "state":
                return member.state(arguments.path("drain").asBoolean(false));
            case "leave":
                members.remove(name);
                member.leave();
                return null;
            case "commit":
                member.betweenPolls(member::commit);
                return null;
            case "pause":
                member.betweenPolls(member::pause);
                return null;
            case "resume":
                member.betweenPolls(member::resume);
                return null;
            case "seek":
                member.betweenPolls(() -> member.seek(
                        arguments.get("topic").asText(),
                        arguments.get("partition").asInt(),
                        arguments.get("offset").asLong()));
                return null;
            default:
                throw new IllegalArgumentException(arguments.toString());
        }
    }
}
